/* SPDX-License-Identifier: Apache-2.0
 *
 * net_gen: a DPDK 22.11 device that makes traffic up and swallows traffic. A plug-in for benches: ofswitchd, testpmd and OVS-DPDK
 * load it alike (EAL argument `-d librte_net_gen.so`), so that any number and distribution of flows can be offered without a
 * preloaded capture. Each received packet is a fresh mbuf with a header written from a 64-byte template and a flow number; each
 * transmitted one is counted and freed. Nothing is random that the arguments do not ask for: two runs offer the same packets.
 *
 * Arguments (net_gen0,key=value,...):
 *   flows=N        different flow numbers, 0..N-1 (1)
 *   dist=D         their order: seq (0,1,2,...), uniform (pseudo-random), zipf (a sequence of 2^20 drawn with exponent zipf=S, 1.0)
 *   size=N         frame bytes without FCS, 60..1514 (64)
 *   proto=udp|tcp  (udp)        ipv6=0|1  (0)        vlan=ID  one tag (0: none)
 *   sip= dip=      first addresses (10.0.0.0, 192.168.0.1); with ipv6 the low 32 bits
 *   sport= dport=  first ports (1024, 80)
 *   sips= dips= sports= dports= smacs= dmacs= vlans=   how many values each field takes: first + (flow % count) * step
 *                  (sips: as many as flows; the others: 1)
 *   sip_step= dip_step=   (1)
 *   new=1          every packet a new flow: source MAC, source address and port count on and on
 *   tse=1          crafted headers that force a classifier's masks apart: source, destination and port each differ from the first
 *                  values at one bit, lower bits random: 32 * 32 * 16 shapes
 *   rate=PPS       at most so many packets a second (0: no limit)
 *   rss=1          give each packet an RSS hash, as a NIC does (0)
 *   rx=0           no packets, a sink only (1)
 *   trace=FILE     frames from a file of 64-byte records, in order, over and over (see `size`), instead of made-up ones
 *   ctl=FILE       a page of shared memory (struct ctl; made by whoever steers, see scripts/benchlib/gen.py): live counters, pause and rate,
 *                  samples of what was transmitted, the longest pause between two bursts and how much of it the thread ran, the time of a first packet
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <ethdev_driver.h>
#include <ethdev_vdev.h>
#include <bus_vdev_driver.h>
#include <rte_kvargs.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>

#define QUEUES 16
#define ZIPF_LEN (1u << 20)

/* One header field: value = first + (flow % count) * step, written big-endian. */
struct field {
	uint32_t count, first, step;
	uint64_t magic; /* 2^64 / count, rounded up */
};

#define SAMPLES 256

/* What a queue counts: one cache line, written by its thread only. */
struct counters {
	uint64_t packets, bytes, nombuf, polls;
	uint64_t last_tsc, max_gap; /* while `watch` is set: the longest time between two bursts (rx: polls) */
	uint64_t first_ns;          /* tx: CLOCK_MONOTONIC of the first packet after `arm` was set */
	uint64_t max_ran;           /* while `watch` is set: the most that the thread itself ran of one pause (50 us too much at most): the rest of it
	                               another task or the hypervisor had the processor */
};

/* The shared page. The steering process writes the first two lines, the device all others. */
struct ctl {
	uint64_t magic; /* CTL_MAGIC, written by the device when it has mapped the page */
	uint64_t pause, rate, arm, sample, every, watch, unused[9];
	struct counters rx[QUEUES], tx[QUEUES];
	uint64_t sampled, seen, pad[6];
	struct {
		uint16_t len;
		uint8_t data[126];
	} samples[SAMPLES];
};
#define CTL_MAGIC 0x6f6673676e303031ull

struct gen;

struct queue {
	struct gen *gen;
	struct rte_mempool *pool;
	uint64_t next; /* position in the sequence */
	uint64_t seed;
	uint64_t tsc, credit; /* rate limit */
	uint64_t asked, ran;  /* when the thread's own time was asked for last, and what it was, in cycles */
	struct counters *count;
	uint16_t port;
} __rte_cache_aligned;

struct gen {
	uint32_t flows, *zipf;
	struct field sip, dip, sport, dport, smac, dmac, vlan;
	uint8_t template[128];
	uint16_t size, l3, l4, hdr_copy;
	uint32_t csum_base; /* IPv4 header's sum without addresses */
	uint64_t tsc_hz;
	struct ctl *ctl; /* shared, or private memory that nobody else writes */
	uint8_t *trace;
	bool ipv6, tcp, uniform, fresh, tse, rss, rx, has_vlan, plain;
	struct rte_ether_addr mac;
	struct queue rxq[QUEUES], txq[QUEUES];
};

/* i % count by two multiplications (exact for 32 bits). */
static inline uint32_t pick(const struct field *f, uint32_t i)
{
	uint64_t low = f->magic * i;

	return f->first + (uint32_t)(((__uint128_t)low * f->count) >> 64) * f->step;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	v = rte_cpu_to_be_32(v);
	memcpy(p, &v, 4);
}

static inline void put16(uint8_t *p, uint16_t v)
{
	v = rte_cpu_to_be_16(v);
	memcpy(p, &v, 2);
}

static inline uint64_t rnd(uint64_t *s)
{
	uint64_t z = (*s += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* The mbuf's lengths and the next record of the trace. */
static inline void write_trace(struct queue *q, struct gen *g, struct rte_mbuf *m)
{
	memcpy(rte_pktmbuf_mtod(m, uint8_t *), g->trace + q->next * 64, 64);
	if (++q->next == g->flows)
		q->next = 0;
	m->pkt_len = g->size;
	m->data_len = g->size;
	m->port = q->port;
}

static inline void write_header(struct queue *q, struct gen *g, struct rte_mbuf *m)
{
	uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *);
	uint32_t i, sip, dip, sport, dport;

	memcpy(p, g->template, 64);
	if (unlikely(g->hdr_copy > 64))
		memcpy(p + 64, g->template + 64, 64);
	if (g->zipf)
		i = g->zipf[q->next++ & (ZIPF_LEN - 1)];
	else if (g->uniform)
		i = ((rnd(&q->seed) >> 32) * g->flows) >> 32;
	else {
		i = q->next++;
		if (!g->fresh && q->next >= g->flows)
			q->next = 0;
	}
	sip = g->sip.count > 1 ? pick(&g->sip, i) : g->sip.first;
	dip = g->dip.count > 1 ? pick(&g->dip, i) : g->dip.first;
	sport = g->sport.count > 1 ? pick(&g->sport, i) : g->sport.first;
	dport = g->dport.count > 1 ? pick(&g->dport, i) : g->dport.first;
	if (g->smac.count > 1)
		put32(p + 8, pick(&g->smac, i));
	if (g->dmac.count > 1)
		put32(p + 2, pick(&g->dmac, i));
	if (g->vlan.count > 1)
		put16(p + 14, pick(&g->vlan, i));
	if (unlikely(g->fresh)) {
		sip = g->sip.first + i;
		put32(p + 8, i);
		sport = 1024 + ((q->next >> 32) & 0x7fff);
	}
	if (unlikely(g->tse)) {
		uint64_t r = rnd(&q->seed), s = rnd(&q->seed);
		uint32_t a = r & 31, b = (r >> 5) & 31, c = (r >> 10) & 15;

		sip = g->sip.first ^ (1u << a) ^ ((r >> 32) & ((1u << a) - 1));
		dip = g->dip.first ^ (1u << b) ^ (s & ((1u << b) - 1));
		dport = g->dport.first ^ (1u << c) ^ ((s >> 32) & ((1u << c) - 1));
	}
	if (g->ipv6) {
		put32(p + g->l3 + 20, sip);
		put32(p + g->l3 + 36, dip);
	} else {
		uint32_t c = g->csum_base + (sip >> 16) + (sip & 0xffff) + (dip >> 16) + (dip & 0xffff);

		c = (c & 0xffff) + (c >> 16);
		c += c >> 16;
		put32(p + g->l3 + 12, sip);
		put32(p + g->l3 + 16, dip);
		put16(p + g->l3 + 10, ~c);
	}
	put32(p + g->l4, sport << 16 | (dport & 0xffff));
	m->pkt_len = g->size;
	m->data_len = g->size;
	m->port = q->port;
	if (g->rss) {
		m->hash.rss = (sip * 0x9e3779b1u) ^ (dip * 0x85ebca6bu) ^ (sport << 16 | dport) * 0xc2b2ae35u;
		m->ol_flags |= RTE_MBUF_F_RX_RSS_HASH;
	}
}

/* How long this thread has run, in cycles. */
static uint64_t __rte_noinline ran(struct gen *g)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (t.tv_sec + t.tv_nsec / 1e9) * g->tsc_hz;
}

static inline void gap(struct queue *q)
{
	struct counters *c = q->count;
	uint64_t now, len, own;

	if (likely(!*(volatile uint64_t *)&q->gen->ctl->watch)) {
		c->last_tsc = 0;
		return;
	}
	now = rte_rdtsc();
	len = c->last_tsc ? now - c->last_tsc : 0;
	if (len > c->max_gap)
		c->max_gap = len;
	if (unlikely(len > c->max_ran)) {
		own = RTE_MIN(len, ran(q->gen) - q->ran);
		c->max_ran = RTE_MAX(c->max_ran, own);
	}
	if (unlikely(now - q->asked > q->gen->tsc_hz / 20000)) {
		q->ran = ran(q->gen);
		q->asked = now = rte_rdtsc();
	}
	c->last_tsc = now;
}

/* Rare requests of the steering process: samples of frames, the time of the first. */
static void __rte_noinline look(struct gen *g, struct counters *count, struct rte_mbuf **mbufs, uint16_t n)
{
	struct ctl *c = g->ctl;
	uint16_t i;

	if (c->arm && n) {
		struct timespec t;

		clock_gettime(CLOCK_MONOTONIC, &t);
		count->first_ns = t.tv_sec * 1000000000ull + t.tv_nsec;
		c->arm = 0;
	}
	for (i = 0; i < n && c->sampled < c->sample && c->sampled < SAMPLES; i++, c->seen++) {
		uint16_t len = RTE_MIN(rte_pktmbuf_data_len(mbufs[i]), sizeof(c->samples[0].data));

		if (c->every && c->seen % c->every)
			continue;
		memcpy(c->samples[c->sampled].data, rte_pktmbuf_mtod(mbufs[i], void *), len);
		c->samples[c->sampled].len = rte_pktmbuf_pkt_len(mbufs[i]);
		__atomic_store_n(&c->sampled, c->sampled + 1, __ATOMIC_RELEASE);
	}
}

static uint16_t gen_rx(void *queue, struct rte_mbuf **mbufs, uint16_t n)
{
	struct queue *q = queue;
	struct gen *g = q->gen;
	uint64_t rate = *(volatile uint64_t *)&g->ctl->rate;
	uint16_t i;

	if (!g->rx)
		return 0;
	gap(q);
	if (unlikely(*(volatile uint64_t *)&g->ctl->pause))
		return 0;
	if (rate) {
		uint64_t now = rte_rdtsc(), due;

		/* After a change of rate or a long pause the clock starts anew. */
		if (now - q->tsc > g->tsc_hz / 10)
			q->tsc = now - g->tsc_hz / 10;
		due = (now - q->tsc) * rate / g->tsc_hz;
		if (due == 0 && q->credit == 0)
			return 0;
		q->tsc += due * g->tsc_hz / rate;
		q->credit = RTE_MIN(q->credit + due, 256u);
		n = RTE_MIN((uint64_t)n, q->credit);
		q->credit -= n;
	}
	if (unlikely(rte_pktmbuf_alloc_bulk(q->pool, mbufs, n))) {
		q->count->nombuf += n;
		return 0;
	}
	for (i = 0; i < n && i < 4; i++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void *));
	for (i = 0; i < n; i++) {
		if (i + 4 < n)
			rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + 4], void *));
		if (g->trace)
			write_trace(q, g, mbufs[i]);
		else
			write_header(q, g, mbufs[i]);
	}
	q->count->packets += n;
	q->count->bytes += (uint64_t)n * g->size;
	return n;
}

static uint16_t gen_tx(void *queue, struct rte_mbuf **mbufs, uint16_t n)
{
	struct queue *q = queue;
	struct ctl *ctl = q->gen->ctl;
	uint64_t bytes = 0;
	bool simple = true;
	uint16_t i;

	if (unlikely(*(volatile uint64_t *)&ctl->arm | (*(volatile uint64_t *)&ctl->sample > ctl->sampled)))
		look(q->gen, q->count, mbufs, n);
	if (n)
		gap(q);
	for (i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];

		bytes += m->pkt_len;
		simple &= m->pool == mbufs[0]->pool && m->nb_segs == 1 && rte_mbuf_refcnt_read(m) == 1 && RTE_MBUF_DIRECT(m);
	}
	q->count->packets += n;
	q->count->bytes += bytes;
	if (likely(simple && n))
		rte_mempool_put_bulk(mbufs[0]->pool, (void **)mbufs, n);
	else
		rte_pktmbuf_free_bulk(mbufs, n);
	return n;
}

static int gen_configure(struct rte_eth_dev *dev __rte_unused) { return 0; }

static int gen_start(struct rte_eth_dev *dev)
{
	struct gen *g = dev->data->dev_private;
	int i;

	for (i = 0; i < QUEUES; i++)
		g->rxq[i].tsc = rte_rdtsc();
	dev->data->dev_link.link_status = RTE_ETH_LINK_UP;
	return 0;
}

static int gen_stop(struct rte_eth_dev *dev)
{
	dev->data->dev_link.link_status = RTE_ETH_LINK_DOWN;
	return 0;
}

static int gen_close(struct rte_eth_dev *dev)
{
	struct gen *g = dev->data->dev_private;

	free(g->zipf);
	free(g->trace);
	if (g->ctl)
		munmap(g->ctl, sizeof(*g->ctl));
	g->zipf = NULL;
	g->trace = NULL;
	g->ctl = NULL;
	dev->data->mac_addrs = NULL; /* part of the private data */
	return 0;
}

static int gen_info(struct rte_eth_dev *dev __rte_unused, struct rte_eth_dev_info *info)
{
	info->max_mac_addrs = 1;
	info->max_rx_pktlen = UINT16_MAX;
	info->max_mtu = 9728;
	info->max_rx_queues = QUEUES;
	info->max_tx_queues = QUEUES;
	info->min_rx_bufsize = 128;
	info->tx_offload_capa = RTE_ETH_TX_OFFLOAD_MULTI_SEGS | RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
	return 0;
}

static int gen_rxq(struct rte_eth_dev *dev, uint16_t id, uint16_t desc __rte_unused, unsigned int socket __rte_unused,
		   const struct rte_eth_rxconf *conf __rte_unused, struct rte_mempool *pool)
{
	struct gen *g = dev->data->dev_private;
	struct queue *q = &g->rxq[id];

	if (rte_pktmbuf_data_room_size(pool) < RTE_PKTMBUF_HEADROOM + g->size)
		return -ENOMEM;
	q->gen = g;
	q->pool = pool;
	q->port = dev->data->port_id;
	q->seed = 1 + id;
	q->next = (uint64_t)id * g->flows / QUEUES;
	q->count = &g->ctl->rx[id];
	dev->data->rx_queues[id] = q;
	return 0;
}

static int gen_txq(struct rte_eth_dev *dev, uint16_t id, uint16_t desc __rte_unused, unsigned int socket __rte_unused,
		   const struct rte_eth_txconf *conf __rte_unused)
{
	struct gen *g = dev->data->dev_private;

	g->txq[id].gen = g;
	g->txq[id].count = &g->ctl->tx[id];
	dev->data->tx_queues[id] = &g->txq[id];
	return 0;
}

static int gen_stats(struct rte_eth_dev *dev, struct rte_eth_stats *s)
{
	struct gen *g = dev->data->dev_private;
	int i;

	for (i = 0; i < QUEUES; i++) {
		s->ipackets += g->ctl->rx[i].packets;
		s->ibytes += g->ctl->rx[i].bytes;
		s->rx_nombuf += g->ctl->rx[i].nombuf;
		s->opackets += g->ctl->tx[i].packets;
		s->obytes += g->ctl->tx[i].bytes;
	}
	return 0;
}

static int gen_stats_reset(struct rte_eth_dev *dev)
{
	struct gen *g = dev->data->dev_private;
	int i;

	for (i = 0; i < QUEUES; i++) {
		g->ctl->rx[i].packets = g->ctl->rx[i].bytes = g->ctl->rx[i].nombuf = 0;
		g->ctl->tx[i].packets = g->ctl->tx[i].bytes = 0;
	}
	return 0;
}

static int gen_link(struct rte_eth_dev *dev __rte_unused, int wait __rte_unused) { return 0; }
static int gen_yes(struct rte_eth_dev *dev __rte_unused) { return 0; }
static int gen_mtu(struct rte_eth_dev *dev __rte_unused, uint16_t mtu __rte_unused) { return 0; }
static int gen_mac(struct rte_eth_dev *dev __rte_unused, struct rte_ether_addr *a __rte_unused) { return 0; }

static const struct eth_dev_ops gen_ops = {
	.dev_configure = gen_configure,
	.dev_start = gen_start,
	.dev_stop = gen_stop,
	.dev_close = gen_close,
	.dev_infos_get = gen_info,
	.rx_queue_setup = gen_rxq,
	.tx_queue_setup = gen_txq,
	.link_update = gen_link,
	.stats_get = gen_stats,
	.stats_reset = gen_stats_reset,
	.promiscuous_enable = gen_yes,
	.promiscuous_disable = gen_yes,
	.allmulticast_enable = gen_yes,
	.allmulticast_disable = gen_yes,
	.mtu_set = gen_mtu,
	.mac_addr_set = gen_mac,
};

static const char *const keys[] = {"flows", "dist", "zipf", "size", "proto", "ipv6", "vlan", "sip", "dip", "sport", "dport", "sips", "dips",
				   "sports", "dports", "smacs", "dmacs", "vlans", "sip_step", "dip_step", "new", "tse", "rate", "rss", "rx", "trace", "ctl", NULL};

static const char *arg(struct rte_kvargs *kv, const char *key)
{
	unsigned i;

	for (i = 0; kv && i < kv->count; i++)
		if (!strcmp(kv->pairs[i].key, key))
			return kv->pairs[i].value;
	return NULL;
}

static uint64_t number(struct rte_kvargs *kv, const char *key, uint64_t dflt)
{
	const char *v = arg(kv, key);

	return v ? strtoull(v, NULL, 0) : dflt;
}

static uint32_t address(struct rte_kvargs *kv, const char *key, uint32_t dflt)
{
	struct in_addr a;
	const char *v = arg(kv, key);

	return v && inet_pton(AF_INET, v, &a) == 1 ? ntohl(a.s_addr) : v ? strtoul(v, NULL, 0) : dflt;
}

static struct field field(uint64_t count, uint32_t first, uint32_t step)
{
	struct field f = {.count = RTE_MAX(count, 1u), .first = first, .step = step};

	f.magic = f.count > 1 ? UINT64_MAX / f.count + 1 : 0;
	return f;
}

static int zipf_sequence(struct gen *g, double s)
{
	double *cdf = malloc(sizeof(double) * g->flows), sum = 0;
	uint64_t seed = 42;
	uint32_t i;

	g->zipf = malloc(sizeof(uint32_t) * ZIPF_LEN);
	if (!cdf || !g->zipf) {
		free(cdf);
		return -ENOMEM;
	}
	for (i = 0; i < g->flows; i++)
		cdf[i] = sum += pow(i + 1, -s);
	for (i = 0; i < ZIPF_LEN; i++) {
		double u = (rnd(&seed) >> 11) * 0x1p-53 * sum;
		uint32_t lo = 0, hi = g->flows - 1;

		while (lo < hi) {
			uint32_t mid = (lo + hi) / 2;

			if (cdf[mid] < u)
				lo = mid + 1;
			else
				hi = mid;
		}
		g->zipf[i] = lo;
	}
	free(cdf);
	return 0;
}

/* The shared page, or private memory in its place. */
static struct ctl *map_ctl(const char *path)
{
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	struct stat st;
	void *p;

	if (path && (fd < 0 || fstat(fd, &st) || st.st_size < (off_t)sizeof(struct ctl))) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	p = mmap(NULL, sizeof(struct ctl), PROT_READ | PROT_WRITE, path ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);
	if (fd >= 0)
		close(fd);
	return p == MAP_FAILED ? NULL : p;
}

/* Reads a file of 64-byte records; sets `flows` to how many. */
static int read_trace(struct gen *g, const char *path)
{
	FILE *f = fopen(path, "rb");
	long len;
	int r = -EIO;

	if (!f)
		return -ENOENT;
	if (fseek(f, 0, SEEK_END) == 0 && (len = ftell(f)) >= 64 && fseek(f, 0, SEEK_SET) == 0) {
		g->flows = len / 64;
		g->trace = aligned_alloc(64, (size_t)g->flows * 64);
		if (g->trace && fread(g->trace, 64, g->flows, f) == g->flows)
			r = 0;
	}
	fclose(f);
	return r;
}

static void make_template(struct gen *g, uint16_t vlan)
{
	uint8_t *p = g->template;
	uint32_t c = 0;
	int i;

	memcpy(p, "\x02\x00\x00\x00\x00\x02\x02\x01\x00\x00\x00\x01", 12);
	put32(p + 2, g->dmac.first);
	put32(p + 8, g->smac.first);
	g->l3 = 14;
	if (g->has_vlan) {
		put16(p + 12, 0x8100);
		put16(p + 14, vlan);
		g->l3 = 18;
	}
	put16(p + g->l3 - 2, g->ipv6 ? 0x86dd : 0x0800);
	uint8_t *ip = p + g->l3;

	if (g->ipv6) {
		put32(ip, 0x60000000);
		put16(ip + 4, g->size - g->l3 - 40);
		ip[6] = g->tcp ? 6 : 17;
		ip[7] = 64;
		put32(ip + 8, 0xfd000000);
		put32(ip + 24, 0xfd000001);
		g->l4 = g->l3 + 40;
	} else {
		ip[0] = 0x45;
		put16(ip + 2, g->size - g->l3);
		ip[6] = 0x40;
		ip[8] = 64;
		ip[9] = g->tcp ? 6 : 17;
		g->l4 = g->l3 + 20;
		for (i = 0; i < 20; i += 2)
			c += ip[i] << 8 | ip[i + 1];
		g->csum_base = c;
	}
	if (g->tcp) {
		p[g->l4 + 12] = 0x50;
		p[g->l4 + 13] = 0x10;
	} else {
		put16(p + g->l4 + 4, g->size - g->l4);
	}
	g->hdr_copy = g->l4 + (g->tcp ? 20 : 8);
}

static int gen_probe(struct rte_vdev_device *vdev)
{
	struct rte_kvargs *kv = rte_kvargs_parse(rte_vdev_device_args(vdev), keys);
	const char *dist;
	struct rte_eth_dev *dev;
	struct gen *g;
	int r = 0;

	if (!kv)
		return -EINVAL;
	dev = rte_eth_vdev_allocate(vdev, sizeof(*g));
	if (!dev) {
		rte_kvargs_free(kv);
		return -ENOMEM;
	}
	g = dev->data->dev_private;
	g->flows = RTE_MAX(number(kv, "flows", 1), 1u);
	g->size = number(kv, "size", 64);
	g->tcp = arg(kv, "proto") && !strcmp(arg(kv, "proto"), "tcp");
	g->ipv6 = number(kv, "ipv6", 0);
	g->fresh = number(kv, "new", 0);
	g->tse = number(kv, "tse", 0);
	g->rss = number(kv, "rss", 0);
	g->rx = number(kv, "rx", 1);
	g->tsc_hz = rte_get_tsc_hz();
	g->has_vlan = arg(kv, "vlan") || arg(kv, "vlans");
	g->sip = field(number(kv, "sips", g->flows), address(kv, "sip", 0x0a000000), number(kv, "sip_step", 1));
	g->dip = field(number(kv, "dips", 1), address(kv, "dip", 0xc0a80001), number(kv, "dip_step", 1));
	g->sport = field(number(kv, "sports", 1), number(kv, "sport", 1024), 1);
	g->dport = field(number(kv, "dports", 1), number(kv, "dport", 80), 1);
	g->smac = field(number(kv, "smacs", 1), 1, 1);
	g->dmac = field(number(kv, "dmacs", 1), 0x01000001, 1);
	g->vlan = field(number(kv, "vlans", 1), number(kv, "vlan", 1), 1);
	make_template(g, g->vlan.first);
	g->ctl = map_ctl(arg(kv, "ctl"));
	if (g->ctl) {
		g->ctl->rate = number(kv, "rate", 0);
		g->ctl->magic = CTL_MAGIC;
	}
	dist = arg(kv, "dist");
	if (!g->ctl)
		r = -EINVAL;
	else if (arg(kv, "trace"))
		r = read_trace(g, arg(kv, "trace"));
	if (r)
		;
	else if (g->size < RTE_MAX(60, g->hdr_copy) || g->size > 1514 || g->flows > (1u << 31))
		r = -EINVAL;
	else if (dist && !strcmp(dist, "uniform"))
		g->uniform = true;
	else if (dist && !strcmp(dist, "zipf"))
		r = zipf_sequence(g, arg(kv, "zipf") ? atof(arg(kv, "zipf")) : 1.0);
	else if (dist && strcmp(dist, "seq"))
		r = -EINVAL;
	rte_kvargs_free(kv);
	if (r) {
		gen_close(dev);
		rte_eth_dev_release_port(dev);
		return r;
	}
	rte_eth_random_addr(g->mac.addr_bytes);
	dev->data->mac_addrs = &g->mac;
	dev->data->nb_rx_queues = dev->data->nb_tx_queues = 1;
	dev->data->dev_link = (struct rte_eth_link){.link_speed = RTE_ETH_SPEED_NUM_100G, .link_duplex = 1, .link_autoneg = 0, .link_status = 0};
	dev->data->promiscuous = 1;
	dev->data->all_multicast = 1;
	dev->data->dev_flags |= RTE_ETH_DEV_AUTOFILL_QUEUE_XSTATS;
	dev->dev_ops = &gen_ops;
	dev->rx_pkt_burst = gen_rx;
	dev->tx_pkt_burst = gen_tx;
	rte_eth_dev_probing_finish(dev);
	return 0;
}

static int gen_remove(struct rte_vdev_device *vdev)
{
	struct rte_eth_dev *dev = rte_eth_dev_allocated(rte_vdev_device_name(vdev));

	if (!dev)
		return 0;
	gen_close(dev);
	return rte_eth_dev_release_port(dev);
}

static struct rte_vdev_driver gen_drv = {.probe = gen_probe, .remove = gen_remove};

RTE_PMD_REGISTER_VDEV(net_gen, gen_drv);
RTE_PMD_REGISTER_PARAM_STRING(net_gen, "flows=<n> dist=seq|uniform|zipf size=<n> ...");
