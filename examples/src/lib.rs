//! Small programs that use Hyperslab; see `src/bin` and `demo.sql`.
