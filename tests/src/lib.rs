//! Contract of every layer, compositions and recorded vectors.
