"""What every agent has: enrolment, session, journal, dispatch."""
