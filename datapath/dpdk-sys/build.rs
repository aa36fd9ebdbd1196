//! Generates bindings for the installed DPDK (22.11, by pkg-config), compiles the shim, and says what to link.
//!
//! Only the libraries we call are linked, shared. Drivers are plug-ins: a shared EAL loads every driver of its own plug-in
//! directory at start-up, so that all of Debian's are there without being linked.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=shim/wrapper.h");
    println!("cargo:rerun-if-changed=shim/shim.c");
    let dpdk = match pkg_config::Config::new()
        .cargo_metadata(false)
        .range_version("22.11".."23")
        .probe("libdpdk")
    {
        Ok(l) => l,
        Err(e) => {
            eprintln!("DPDK 22.11's development files are needed (Debian 12: apt install libdpdk-dev libclang-dev), or build without feature `dpdk`.\n{e}");
            std::process::exit(1);
        }
    };
    for dir in &dpdk.link_paths {
        println!("cargo:rustc-link-search=native={}", dir.display());
    }
    for lib in ["rte_ethdev", "rte_mempool", "rte_mbuf", "rte_ring", "rte_kvargs", "rte_eal"] {
        println!("cargo:rustc-link-lib=dylib={lib}");
    }
    let include: Vec<String> = dpdk.include_paths.iter().map(|p| format!("-I{}", p.display())).collect();

    let mut shim = cc::Build::new();
    shim.file("shim/shim.c")
        .include("shim")
        .flag("-include")
        .flag("rte_config.h")
        .flag("-march=corei7")
        .opt_level(3);
    shim.includes(&dpdk.include_paths).flag_if_supported("-Wno-deprecated-declarations").warnings(false);
    shim.compile("ofs_dpdk_shim");

    let bindings = bindgen::Builder::default()
        .header("shim/wrapper.h")
        .clang_args(&include)
        .clang_args(["-include", "rte_config.h", "-march=corei7", "-Ishim"])
        .allowlist_function("ofs_.*")
        .allowlist_function("rte_eal_(init|cleanup|process_type|has_hugepages)")
        .allowlist_function("rte_(strerror|version|socket_id|socket_count|socket_id_by_idx|dev_probe|dev_remove|log_set_global_level|log_set_level_pattern)")
        .allowlist_function("rte_thread_(register|unregister)")
        .allowlist_function("rte_ring_(create|lookup|free)")
        .allowlist_function("rte_malloc_get_socket_stats")
        .allowlist_function("rte_pktmbuf_(pool_create|free_bulk)")
        .allowlist_function("rte_mempool_(free|avail_count|in_use_count|lookup)")
        .allowlist_function("rte_eth_dev_(configure|start|stop|close|info_get|set_mtu|get_mtu|is_valid_port|get_port_by_name|get_name_by_port|socket_id|adjust_nb_rx_tx_desc|rss_reta_update|set_link_up|set_link_down|callback_register|callback_unregister)")
        .allowlist_function("rte_eth_(rx_queue_setup|tx_queue_setup|promiscuous_enable|allmulticast_enable|link_get_nowait|stats_get|stats_reset|xstats_get|xstats_get_names|macaddr_get|iterator_.*|find_next|link_speed_to_str)")
        .allowlist_var("rte_eth_fp_ops")
        .allowlist_var("RTE_ETH_.*|RTE_MBUF_.*|RTE_PKTMBUF_HEADROOM|RTE_MAX_ETHPORTS|RTE_ETHER_.*")
        .blocklist_type("rte_mbuf")
        .opaque_type("rte_mempool|rte_ring|rte_device|rte_flow.*|rte_eth_conf_unused")
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false)
        .prepend_enum_name(false)
        .generate()
        .expect("libclang reads DPDK's headers");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    bindings.write_to_file(out).expect("OUT_DIR is writable");
}
