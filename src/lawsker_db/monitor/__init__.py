"""Watch a database and the run that goes on in it: samples, rates, rules that name problems, and the loop."""
