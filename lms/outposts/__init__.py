"""Code that runs where there is no database; speaks lms.protocol."""
