//! What the schedulers do on cases small enough to follow by hand, what every one of them keeps to,
//! and what runs conserve.

mod conservation;
mod mechanism;
mod placement;
mod queueing;
mod readers;
mod schedulers;
mod twins;
