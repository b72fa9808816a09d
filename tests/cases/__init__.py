"""Cases from public reports of people who run such systems, with their right answers, as data."""
