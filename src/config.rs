//! Configuration of the programs.
