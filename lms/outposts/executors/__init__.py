"""Where grading is computed: threads, processes of this machine, or a cluster; no database."""
