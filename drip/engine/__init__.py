"""The stages: planner, dispatcher, importer, and the simulator that runs them on a virtual clock."""
