//! One established session, either role.
