//! Stories: whole nodes, a real chain, the real contracts, and things going wrong. They are in `tests/it`.
