/* What ofswitch uses of DPDK: bindgen reads this file, shim.c implements the functions declared in it. */
#include <rte_config.h>
#include <rte_eal.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_version.h>

/* Functions that DPDK has only as static inlines, one call a burst. */
int ofs_rte_errno(void);
int ofs_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned n);
void ofs_mbuf_free(struct rte_mbuf *m);
int ofs_mbuf_linearize(struct rte_mbuf *m);
void ofs_mbuf_reset(struct rte_mbuf *m);
uint16_t ofs_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
uint16_t ofs_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
uint16_t ofs_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
unsigned ofs_lcore_id(void);
int ofs_log_to_fd(int fd);
/* rte_eth_from_rings() of the net_ring driver, which is a plug-in: found when its library is loaded. */
int ofs_eth_from_rings(const char *name, struct rte_ring *rx, struct rte_ring *tx, unsigned numa_node);
