"""Door for people: HTML pages. Parses requests and renders; decides nothing."""
