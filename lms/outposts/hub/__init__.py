"""In JupyterHub's process: authenticator and spawner."""
