"""Room: who may compute on what, and how long: profiles, quotas, queue, leases and their use."""
