//! What the dialect accepts beyond DataFusion.
