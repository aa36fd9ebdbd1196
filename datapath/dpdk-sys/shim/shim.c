/* Names for DPDK's static inline functions; and proof that our view of struct rte_mbuf is DPDK's. No logic. */
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include "wrapper.h"

#define AT(field, off) _Static_assert(offsetof(struct rte_mbuf, field) == (off), #field " moved")
AT(buf_addr, 0);
AT(data_off, 16);
AT(refcnt, 18);
AT(nb_segs, 20);
AT(port, 22);
AT(ol_flags, 24);
AT(packet_type, 32);
AT(pkt_len, 36);
AT(data_len, 40);
AT(vlan_tci, 42);
AT(hash, 44);
AT(buf_len, 54);
AT(pool, 56);
AT(next, 64);
AT(tx_offload, 72);
_Static_assert(sizeof(struct rte_mbuf) == 128, "size of struct rte_mbuf");

int ofs_rte_errno(void) { return rte_errno; }

int ofs_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned n)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, n);
}

void ofs_mbuf_free(struct rte_mbuf *m) { rte_pktmbuf_free(m); }

int ofs_mbuf_linearize(struct rte_mbuf *m) { return rte_pktmbuf_linearize(m); }

void ofs_mbuf_reset(struct rte_mbuf *m) { rte_pktmbuf_reset(m); }

uint16_t ofs_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, mbufs, n);
}

uint16_t ofs_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_tx_prepare(port, queue, mbufs, n);
}

uint16_t ofs_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, mbufs, n);
}

unsigned ofs_lcore_id(void) { return rte_lcore_id(); }

int ofs_log_to_fd(int fd)
{
	FILE *f = fdopen(fd, "w");

	if (!f)
		return -1;
	setvbuf(f, NULL, _IOLBF, 0);
	return rte_openlog_stream(f);
}

int ofs_eth_from_rings(const char *name, struct rte_ring *rx, struct rte_ring *tx, unsigned numa_node)
{
	int (*from_rings)(const char *, struct rte_ring *const[], const unsigned, struct rte_ring *const[], const unsigned, const unsigned);
	void *lib = dlopen("librte_net_ring.so.23", RTLD_NOW | RTLD_NOLOAD);
	int port = -1;

	if (!lib)
		return -ENOTSUP;
	*(void **)&from_rings = dlsym(lib, "rte_eth_from_rings");
	if (from_rings)
		port = from_rings(name, &rx, 1, &tx, 1, numa_node);
	else
		rte_errno = ENOTSUP;
	dlclose(lib);
	return port < 0 ? -rte_errno : port;
}
