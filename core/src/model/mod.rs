//! The backbone: XLS-R / wav2vec 2.0, HuBERT and data2vec-audio as one model.
