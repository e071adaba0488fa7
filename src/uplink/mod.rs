//! Which network path is up, which to use, what it may cost.
//!
//! Empty for now: connections take the system's default route. The choice between Ethernet and cellular,
//! budgets and failover will live here, and `upstream` will ask this room for its sockets.
