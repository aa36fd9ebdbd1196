/* The other process of a `dpdkr` port: a DPDK secondary process that takes packets from ring NAME_tx and puts them back into NAME_rx.
 *   echo EAL-ARGS -- NAME COUNT      (ends after COUNT packets) */
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);
	if (used < 0 || argc - used < 3) {
		fprintf(stderr, "usage: echo EAL-ARGS -- NAME COUNT\n");
		return 2;
	}
	char name[64];
	snprintf(name, sizeof name, "%s_tx", argv[used + 1]);
	struct rte_ring *from = rte_ring_lookup(name);
	snprintf(name, sizeof name, "%s_rx", argv[used + 1]);
	struct rte_ring *to = rte_ring_lookup(name);
	if (!from || !to) {
		fprintf(stderr, "no rings %s_tx and _rx\n", argv[used + 1]);
		return 1;
	}
	long left = atol(argv[used + 2]);
	time_t end = time(NULL) + 10;
	while (left > 0 && time(NULL) < end) {
		void *m[32];
		unsigned n = rte_ring_dequeue_burst(from, m, 32, NULL);
		for (unsigned i = 0; i < n; i++)
			while (rte_ring_enqueue(to, m[i]) != 0)
				;
		left -= n;
	}
	printf("%s\n", left > 0 ? "too few packets came" : "all packets came and went back");
	rte_eal_cleanup();
	return left > 0;
}
