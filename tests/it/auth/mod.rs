//! Tokens: who is let in, what they may see, and until when.

mod grants;
mod key_sets;
mod schemes;
mod tokens;
