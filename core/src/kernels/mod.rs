//! Hot loops, the only home of `unsafe`: each kernel stands beside its scalar specification.
