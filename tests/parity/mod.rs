//! Our numbers against Hugging Face's, and masks against the multiplication they stand for.

mod demo;
mod gate;
mod loading;
mod reference;
mod windows;
