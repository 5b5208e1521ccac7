"""What runs templates for the pages: a process with limits on time and memory, which
can be ended from outside."""
