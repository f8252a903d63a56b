//! SQL types beyond DataFusion: TENSOR, VECTOR, HALF and their kin.
