//! The gateway as its users meet it: the real binary, real sockets.

mod scenarios;
