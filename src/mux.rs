//! One multiplexed connection as a state machine for either role. Pure.
