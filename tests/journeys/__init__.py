"""Stories of people, told by driving a real browser against the whole system."""
