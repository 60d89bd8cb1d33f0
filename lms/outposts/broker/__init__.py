"""The compute broker: the one root process; starts servers, kernels and parts inside sandboxes."""
