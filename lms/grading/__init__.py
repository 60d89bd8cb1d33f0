"""Room: runs, queue claims, results and feedback of submissions."""
