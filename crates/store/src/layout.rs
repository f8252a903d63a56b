//! Every file name, folder name and magic value of a store, and nothing else.
