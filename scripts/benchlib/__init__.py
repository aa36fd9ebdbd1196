"""What scripts/bench is made of.

gen          the shared page by which our generator (scripts/genpmd) is steered and read
frames       packets, traces of packets, and what a right packet looks like behind the switch
acl          rules in the style of ClassBench's seeds, and a trace that hits them
cells        what is measured: devices, rules, goal
contestants  OVS-DPDK, ofswitch, testpmd: start, stop, freeze, ask for hit rates
measure      one cell: check it, warm up, windows in turn
ofclient     a few raw OpenFlow messages, for timing one flow-mod
report       the table, the plots
"""
