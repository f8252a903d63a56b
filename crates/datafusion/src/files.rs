//! Files as tables, and tables as files.
