"""What a fork of the zygote runs inside a sandbox: a Jupyter kernel, or cells over a socket."""
