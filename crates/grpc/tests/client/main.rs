//! Our client: against a server played by hand, frame by frame, in memory and in virtual time; and against our server.

mod both_sides;
mod cancelling;
mod connecting;
mod deadlines;
mod flow;
mod going_away;
mod peer;
mod queue;
mod requests;
mod responses;
mod uploads;
