/* SPDX-License-Identifier: Apache-2.0
 * device/ without a device: names of capabilities and tiers, families of well-known cards, quirks,
 * profiles, and that tuning never asks for more than a device has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "family.h"
#include "kernel.h"
#include "quirks.h"
#include "tuning.h"
#include "wishes.h"

static void test_capability_names(void **state)
{
    (void)state;
    uint32_t bits = 1;
    pumice_error err = { 0 };
    assert_true(pum_caps_bits_from_names("", &bits, &err));
    assert_int_equal(bits, 0);
    assert_true(pum_caps_bits_from_names("sub", &bits, &err));
    assert_int_equal(bits, PUM_CAP_SUBGROUP);
    assert_true(pum_caps_bits_from_names("f16,timeline,,unified", &bits, &err));
    assert_int_equal(bits, PUM_CAP_F16 | PUM_CAP_TIMELINE | PUM_CAP_UNIFIED);
    assert_true(pum_caps_bits_from_names("i8,dot8,fast-dot8,coop,timestamps,budget,size-control,"
                                         "full-subgroups,query-reset",
                                         &bits, &err));
    assert_int_equal(bits, PUM_CAP_I8 | PUM_CAP_DOT8 | PUM_CAP_DOT8_FAST | PUM_CAP_COOP | PUM_CAP_TIMESTAMPS
                               | PUM_CAP_MEMORY_BUDGET | PUM_CAP_SUBGROUP_SIZE_CONTROL | PUM_CAP_FULL_SUBGROUPS
                               | PUM_CAP_HOST_QUERY_RESET);
    assert_false(pum_caps_bits_from_names("sub,f1", &bits, &err));
    assert_int_equal(err.status, PUMICE_ERROR_INVALID);
    assert_non_null(strstr(err.text, "'f1'"));
    assert_non_null(strstr(err.text, "timeline"));
}

static void test_tiers(void **state)
{
    (void)state;
    char text[64];
    static const struct {
        uint32_t bits;
        const char *text;
    } rows[] = {
        { 0, "base" },
        { PUM_CAP_SUBGROUP, "base sub" },
        { PUM_CAP_F16, "base" }, /* the f16 tier also needs subgroups */
        { PUM_CAP_SUBGROUP | PUM_CAP_F16, "base sub f16" },
        { PUM_CAP_SUBGROUP | PUM_CAP_DOT8, "base sub dot8" },
        { UINT32_MAX, "base sub texel f16 dot8 coop" },
    };
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        pum_caps_tiers_text(rows[i].bits, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
    pum_caps_tiers_text(UINT32_MAX, text, 7); /* what does not fit is left out */
    assert_true(strlen(text) < 7);
    for (uint32_t t = 0; t < PUM_TIER_COUNT; t++) {
        assert_string_not_equal(pum_tier_name((pum_tier)t), "?");
    }
    assert_string_equal(pum_tier_name(PUM_TIER_COUNT), "?");
}

static void test_families(void **state)
{
    (void)state;
    static const struct {
        uint32_t vendor, id, driver;
        const char *name, *family;
    } rows[] = {
        { 0x10005, 0, 13, "llvmpipe (LLVM 15.0.6, 256 bits)", "lavapipe" },
        { 0x10005, 0, 0, "llvmpipe (LLVM 19.1.7, 512 bits)", "lavapipe" },
        { 0x1ae0, 0xc0de, 10, "SwiftShader Device (Subzero)", "swiftshader" },
        { 0x1002, 0x744c, 3, "AMD Radeon RX 7900 XTX (RADV NAVI31)", "amd-rdna3" },
        { 0x1002, 0x744c, 1, "AMD Radeon RX 7900 XTX", "amd-rdna3" },
        { 0x1002, 0x7480, 2, "AMD Radeon RX 7600", "amd-rdna3" },
        { 0x1002, 0x15bf, 3, "AMD Radeon 780M (RADV GFX1103_R1)", "amd-rdna3" },
        { 0x1002, 0x1586, 3, "Radeon 8060S Graphics (RADV GFX1151)", "amd-rdna3" },
        { 0x1002, 0x7550, 3, "AMD Radeon RX 9070 XT (RADV GFX1201)", "amd-rdna4" },
        { 0x1002, 0x7550, 1, "AMD Radeon RX 9070 XT", "amd-rdna4" },
        { 0x1002, 0x73bf, 3, "AMD Radeon RX 6800 XT (RADV NAVI21)", "amd-rdna2" },
        { 0x1002, 0x73ff, 1, "AMD Radeon RX 6600", "amd-rdna2" },
        { 0x1002, 0x1435, 3, "AMD Custom GPU 0932 (RADV VANGOGH)", "amd-rdna2" },
        { 0x1002, 0x731f, 3, "AMD Radeon RX 5700 XT (RADV NAVI10)", "amd-rdna1" },
        { 0x1002, 0x66af, 3, "AMD Radeon VII (RADV VEGA20)", "amd-gcn5" },
        { 0x1002, 0x687f, 1, "Radeon RX Vega", "amd-gcn5" },
        { 0x1002, 0x1638, 3, "AMD Radeon Graphics (RADV RENOIR)", "amd-gcn5" },
        { 0x1002, 0x15dd, 1, "AMD Radeon(TM) Vega 8 Graphics", "amd-gcn5" },
        { 0x1002, 0x694c, 3, "AMD Radeon RX Vega M GH Graphics (RADV VEGAM)", "amd-gcn" },
        { 0x1002, 0x7300, 3, "AMD Radeon R9 Fury Series (RADV FIJI)", "amd-gcn" },
        { 0x1002, 0x6939, 3, "AMD Radeon R9 380 Series (RADV TONGA)", "amd-gcn" },
        { 0x1002, 0x740f, 3, "AMD Instinct MI210 (RADV ALDEBARAN)", "amd-cdna" },
        { 0x1002, 0x67df, 3, "AMD Radeon RX 580 Series (RADV POLARIS10)", "amd-gcn" },
        { 0x1002, 0x738c, 3, "AMD Instinct MI100 (RADV ARCTURUS)", "amd-cdna" },
        { 0x1002, 0x74a1, 1, "AMD Radeon Graphics", "amd-cdna" },
        { 0x8086, 0x5916, 6, "Intel(R) HD Graphics 620 (KBL GT2)", "intel-gen9" },
        { 0x8086, 0x9a49, 6, "Intel(R) Xe Graphics (TGL GT2)", "intel-xe-lp" },
        { 0x8086, 0xa7a0, 5, "Intel(R) Iris(R) Xe Graphics", "intel-xe-lp" },
        { 0x8086, 0x3e92, 6, "Intel(R) UHD Graphics 630 (CFL GT2)", "intel-gen9" },
        { 0x8086, 0x8a52, 6, "Intel(R) Iris(R) Plus Graphics (ICL GT2)", "intel-gen9" },
        { 0x8086, 0xb0a0, 5, "Intel(R) Arc(TM) B390 GPU", "intel-xe2" },
        { 0x8086, 0x56a0, 6, "Intel(R) Arc(tm) A770 Graphics (DG2)", "intel-xe-hpg" },
        { 0x8086, 0x7d55, 6, "Intel(R) Arc(tm) Graphics (MTL)", "intel-xe-hpg" },
        { 0x8086, 0xe20b, 6, "Intel(R) Arc(tm) B580 Graphics (BMG G21)", "intel-xe2" },
        { 0x8086, 0x64a0, 5, "Intel(R) Arc(TM) 140V GPU", "intel-xe2" },
        { 0x10de, 0x13c2, 4, "NVIDIA GeForce GTX 970", "nvidia-maxwell" },
        { 0x10de, 0x1b06, 4, "NVIDIA GeForce GTX 1080 Ti", "nvidia-pascal" },
        { 0x10de, 0x1db6, 4, "Tesla V100-PCIE-32GB", "nvidia-volta" },
        { 0x10de, 0x1eb8, 4, "Tesla T4", "nvidia-turing" },
        { 0x10de, 0x2184, 4, "NVIDIA GeForce GTX 1660", "nvidia-turing" },
        { 0x10de, 0x20b5, 4, "NVIDIA A100 80GB PCIe", "nvidia-ampere" },
        { 0x10de, 0x2204, 4, "NVIDIA GeForce RTX 3090", "nvidia-ampere" },
        { 0x10de, 0x2507, 24, "NVIDIA GeForce RTX 3050 (NVK GA106)", "nvidia-ampere" },
        { 0x10de, 0x2684, 4, "NVIDIA GeForce RTX 4090", "nvidia-ada" },
        { 0x10de, 0x2335, 4, "NVIDIA H200", "nvidia-hopper" },
        { 0x10de, 0x2b85, 4, "NVIDIA GeForce RTX 5090", "nvidia-blackwell" },
        { 0x10de, 0x97ba03d7, 4, "NVIDIA Tegra Orin (nvgpu)", "nvidia-ampere" },
        { 0x10de, 0xa5ba03d7, 4, "NVIDIA Tegra Xavier (nvgpu)", "nvidia-volta" },
        { 0x106b, 0, 14, "Apple M2", "apple" },
        { 0x10005, 0, 26, "Apple M1 (G13G B1)", "apple" },
        { 0x5143, 0x43050a01, 8, "Adreno (TM) 730", "adreno" },
        { 0x5143, 0x43050a01, 18, "Turnip Adreno (TM) 730", "adreno" },
        { 0x13b5, 0xa8670000, 9, "Mali-G710", "mali" },
        { 0x14e4, 0xbe485fd3, 19, "V3D 7.1.7", "videocore" },
        { 0x1010, 0x36052000, 7, "PowerVR Rogue GE8320", "powervr" },
        { 0x9999, 1, 0, "Some card", "unknown" },
    };
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        pum_caps c = { .vendor_id = rows[i].vendor,
                       .device_id = rows[i].id,
                       .driver_id = rows[i].driver };
        snprintf(c.name, sizeof c.name, "%s", rows[i].name);
        assert_string_equal(pum_family_name(pum_family_find(&c)), rows[i].family);
    }
    /* ids that no table has yet go by the smallest subgroup */
    static const struct {
        uint32_t vendor, subgroup_min;
        const char *family;
    } later[] = { { 0x1002, 32, "amd-rdna2" },  { 0x1002, 64, "amd-gcn" }, { 0x8086, 8, "intel-xe-lp" },
                  { 0x8086, 16, "intel-xe2" }, { 0x10de, 32, "nvidia-turing" } };
    for (size_t i = 0; i < PUM_COUNT(later); i++) {
        pum_caps c = { .vendor_id = later[i].vendor, .device_id = 1, .subgroup_min = later[i].subgroup_min };
        assert_string_equal(pum_family_name(pum_family_find(&c)), later[i].family);
    }
    for (uint32_t i = 0; i < PUM_GPU_COUNT; i++) {
        assert_non_null(pum_family_name(i));
        assert_int_equal(pum_family_from_name(pum_family_name(i)), i);
    }
    assert_string_equal(pum_family_name(12345), "unknown");
    assert_int_equal(pum_family_from_name("voodoo"), PUM_GPU_COUNT);
    pum_caps radv = { .driver_id = 3 }, none = { .driver_id = 999 };
    assert_string_equal(pum_driver_name(pum_driver_of(&radv)), "radv");
    assert_string_equal(pum_driver_name(pum_driver_of(&none)), "unknown");
    assert_string_equal(pum_driver_name(12345), "unknown");
}

static uint32_t quirk_bit(const char *name)
{
    pum_quirk_info info;
    for (size_t i = 0; pum_quirk_get(i, &info); i++) {
        if (strcmp(info.name, name) == 0) return 1u << i;
    }
    fail_msg("no quirk '%s'", name);
    return 0;
}

/* What a device of a family, run by a driver of some version, is left with of all capabilities. */
/* ... but for the row that holds everywhere. */
static uint32_t bits_left(pum_family_id family, uint32_t driver_id, uint32_t version, uint32_t on, uint32_t off,
                          uint32_t *out_quirks)
{
    pum_caps c = { .family = family, .driver_id = driver_id, .driver_version = version, .bits = UINT32_MAX };
    pum_quirks_apply(&c, on, off | quirk_bit("coop-unproven"));
    *out_quirks = c.quirks;
    return ~c.bits;
}

static void test_quirks(void **state)
{
    (void)state;
    static const struct {
        const char *name; /* the quirk that must match, alone of those listed here; NULL = none may */
        pum_family_id family;
        uint32_t driver_id, version, clears;
        const char *also[2]; /* others that must */
    } rows[] = {
        { "lavapipe-short-loops", PUM_GPU_LAVAPIPE, 13, 1, 0,
          { "lavapipe-late-compile", "lavapipe-timeline-wakes" } },
        { "moltenvk-amd-no-subgroups", PUM_GPU_AMD_RDNA1, 14, 10400, PUM_CAP_SUBGROUP },
        { "moltenvk-amd-no-subgroups", PUM_GPU_AMD_GCN, 14, 10300, PUM_CAP_SUBGROUP },
        { "moltenvk-no-small-types", PUM_GPU_APPLE, 14, 10211, PUM_CAP_F16 | PUM_CAP_I8 },
        { NULL, PUM_GPU_APPLE, 14, 10300, 0 },   /* fixed in 1.3 */
        { NULL, PUM_GPU_AMD_RDNA1, 3, 10211, 0 }, /* another driver */
        { "alchemist-no-coop", PUM_GPU_INTEL_XE_HPG, 6, 0, PUM_CAP_COOP },
        { NULL, PUM_GPU_INTEL_XE2, 6, 0, 0 },
        { "amd-windows-no-coop", PUM_GPU_AMD_RDNA4, 1, 0, PUM_CAP_COOP },
        { NULL, PUM_GPU_AMD_RDNA4, 3, 0, 0 },
        { NULL, PUM_GPU_AMD_RDNA3, 1, 0, 0 },
        { NULL, PUM_GPU_ADRENO, 18, 0, 0 }, /* Turnip */
    };
    pum_quirk_info info;
    size_t n = 0;
    char effect[64];
    for (; pum_quirk_get(n, &info); n++) {
        assert_true(info.clears || info.flags); /* a row without an effect is no row */
        assert_true(strlen(info.text) > 20 && strlen(info.link) > 5);
        assert_int_equal(strlen(info.seen), 7); /* 2026-11 */
        pum_quirk_effect_text(&info, effect, sizeof effect);
        assert_true(strlen(effect) > 5);
        for (size_t other = 0; other < n; other++) {
            pum_quirk_info o;
            assert_true(pum_quirk_get(other, &o));
            assert_string_not_equal(o.name, info.name);
        }
    }
    assert_true(n >= 8);
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        uint32_t quirks, bit = rows[i].name ? quirk_bit(rows[i].name) : 0;
        for (int k = 0; k < 2; k++) bit |= rows[i].also[k] ? quirk_bit(rows[i].also[k]) : 0;
        assert_int_equal(bits_left(rows[i].family, rows[i].driver_id, rows[i].version, 0, 0, &quirks), rows[i].clears);
        assert_int_equal(quirks, bit);
        /* forced off there, and on somewhere else */
        assert_int_equal(bits_left(rows[i].family, rows[i].driver_id, rows[i].version, 0, bit, &quirks), 0);
        assert_int_equal(quirks, 0);
        assert_int_equal(bits_left(PUM_GPU_NVIDIA_ADA, 4, 1, bit, 0, &quirks), rows[i].clears);
        assert_int_equal(quirks, bit);
    }
    pum_caps adreno = { .family = PUM_GPU_ADRENO, .driver_id = 8, .bits = PUM_CAP_I8 };
    pum_quirks_apply(&adreno, 0, 0);
    assert_int_equal(adreno.bits, 0);
    assert_int_equal(adreno.flags, PUM_FLAG_SHORT_SUBMITS);
}

static void test_quirk_switches(void **state)
{
    (void)state;
    uint32_t on, off, a = quirk_bit("lavapipe-short-loops"), b = quirk_bit("alchemist-no-coop");
    pumice_error err = { 0 };
    assert_true(pum_quirks_parse("", &on, &off, &err));
    assert_int_equal(on | off, 0);
    assert_true(pum_quirks_parse("lavapipe-short-loops=on,alchemist-no-coop=off", &on, &off, &err));
    assert_int_equal(on, a);
    assert_int_equal(off, b);
    assert_true(pum_quirks_parse("alchemist-no-coop=on,alchemist-no-coop=off", &on, &off, &err)); /* the last counts */
    assert_int_equal(on, 0);
    assert_int_equal(off, b);
    static const char *const bad[] = { "voodoo=on", "alchemist-no-coop", "alchemist-no-coop=1", "=on",
                                       "alchemist-no-coop=on;x" };
    for (size_t i = 0; i < PUM_COUNT(bad); i++) {
        assert_false(pum_quirks_parse(bad[i], &on, &off, &err));
        assert_int_equal(err.status, PUMICE_ERROR_INVALID);
    }
    /* what the flags do to tuning, on a device that has neither bug */
    pum_caps c;
    pum_tuning t;
    pum_caps_wishes w;
    assert_true(pum_caps_profile("swiftshader", &c));
    pum_tuning_for(&c, &t);
    assert_true(t.sample_wg < 256 && t.submit_us > 1000);
    assert_true(pum_caps_wishes_parse(NULL, NULL, "lavapipe-short-loops=on,qualcomm-short-submits=on", &w, &err));
    assert_true(pum_caps_profile_wish("swiftshader", &w, &c));
    pum_tuning_for(&c, &t);
    assert_int_equal(t.sample_wg, 256);
    assert_int_equal(t.submit_us, 1000);
}

static void test_wishes(void **state)
{
    (void)state;
    pum_caps_wishes w;
    pum_caps c;
    pumice_error err = { 0 };
    assert_true(pum_caps_wishes_parse("f16", "subgroup=16,shared=16K,invocations=128,range=64M,align=4K,allocation=1G,"
                                      "buffers=8,push=128,unified=0,dot8=0", NULL, &w, &err));
    assert_true(pum_caps_profile_wish("navi31", &w, &c));
    assert_int_equal(c.subgroup_size, 16);
    assert_int_equal(c.shared_memory_bytes, 16384);
    assert_int_equal(c.max_workgroup_invocations, 128);
    assert_int_equal(c.max_workgroup_size[0], 128);
    assert_int_equal(c.max_buffer_range_bytes, 64 << 20);
    assert_int_equal(c.max_allocation_bytes, 1 << 30);
    assert_int_equal(c.offset_align_bytes, 4096);
    assert_int_equal(c.max_storage_buffers, 8);
    assert_int_equal(c.bits & (PUM_CAP_F16 | PUM_CAP_DOT8 | PUM_CAP_DOT8_FAST | PUM_CAP_UNIFIED), 0);
    assert_true(c.bits & PUM_CAP_SUBGROUP);
    /* only ever lower */
    assert_true(pum_caps_wishes_parse(NULL, "shared=1G,invocations=4096,range=100G,align=1", NULL, &w, &err));
    assert_true(pum_caps_profile_wish("swiftshader", &w, &c));
    assert_int_equal(c.shared_memory_bytes, 32768);
    assert_int_equal(c.max_workgroup_invocations, 256);
    assert_int_equal(c.max_buffer_range_bytes, 1 << 30);
    assert_int_equal(c.offset_align_bytes, 256);
    /* a transfer queue may be asked for, but not without timelines */
    assert_true(pum_caps_wishes_parse(NULL, "transfer=1", NULL, &w, &err));
    assert_true(pum_caps_profile_wish("lavapipe", &w, &c));
    assert_true(c.bits & PUM_CAP_TRANSFER);
    assert_true(pum_caps_wishes_parse(NULL, "transfer=1,timeline=0", NULL, &w, &err));
    assert_true(pum_caps_profile_wish("lavapipe", &w, &c));
    assert_int_equal(c.bits & (PUM_CAP_TRANSFER | PUM_CAP_TIMELINE), 0);
    assert_true(pum_caps_wishes_parse(NULL, "transfer=0", NULL, &w, &err));
    assert_int_equal(w.disable_bits, PUM_CAP_TRANSFER);
    /* a dot product may be said to be fast, where there is one */
    assert_true(pum_caps_wishes_parse(NULL, "fast-dot8=1", NULL, &w, &err));
    assert_true(pum_caps_profile_wish("lavapipe", &w, &c));
    assert_true((c.bits & PUM_CAP_DOT8) && (c.bits & PUM_CAP_DOT8_FAST));
    assert_true(pum_caps_profile_wish("rx-580", &w, &c));
    assert_int_equal(c.bits & (PUM_CAP_DOT8 | PUM_CAP_DOT8_FAST), 0);
    assert_true(pum_caps_wishes_parse(NULL, "fast-dot8=0", NULL, &w, &err));
    assert_true(pum_caps_profile_wish("navi31", &w, &c));
    assert_int_equal(c.bits & (PUM_CAP_DOT8 | PUM_CAP_DOT8_FAST), PUM_CAP_DOT8);
    static const char *const bad[] = { "transfer=2", "fast-dot8=2", "dot8=1", "transfer", "subgroup=3", "subgroup=256",
                                       "subgroup=0", "subgroup", "align=100", "shared=x", "range=12T",
                                       "range=99999999999999999999", "f16=1", "wings=0", "=4", "shared=-1",
                                       "shared=16KK" };
    for (size_t i = 0; i < PUM_COUNT(bad); i++) {
        assert_false(pum_caps_wishes_parse(NULL, bad[i], NULL, &w, &err));
        assert_int_equal(err.status, PUMICE_ERROR_INVALID);
        assert_int_equal(w.subgroup_size | w.disable_bits, 0); /* zero on failure */
    }
    assert_false(pum_caps_wishes_parse("wings", NULL, NULL, &w, &err));
    assert_false(pum_caps_wishes_parse(NULL, NULL, "wings=on", &w, &err));
}

static void test_profiles(void **state)
{
    (void)state;
    static const struct {
        const char *name, *family, *tiers;
        uint64_t heap_gib;
        double gbs;
    } expected[] = {
        { "lavapipe", "lavapipe", "base sub texel f16 dot8", 2, 8 },
        { "swiftshader", "swiftshader", "base sub dot8", 2, 2 },
        { "rx-580", "amd-gcn", "base sub", 8, 256 },
        { "vega-64", "amd-gcn5", "base sub f16", 8, 483.8 },
        { "radeon-vii", "amd-gcn5", "base sub f16 dot8", 16, 1024 },
        { "rx-5700-xt", "amd-rdna1", "base sub f16", 8, 448 },
        { "navi21", "amd-rdna2", "base sub f16 dot8", 16, 512 },
        { "navi31", "amd-rdna3", "base sub f16 dot8", 24, 960 },
        { "rx-9070-xt", "amd-rdna4", "base sub f16 dot8", 16, 644.6 },
        { "mi210", "amd-cdna", "base sub f16 dot8", 64, 1638.4 },
        { "uhd-630", "intel-gen9", "base sub f16", 12, 42.7 },
        { "iris-xe", "intel-xe-lp", "base sub f16 dot8", 12, 68.3 },
        { "intel-a770", "intel-xe-hpg", "base sub f16 dot8", 16, 560 },
        { "intel-b580", "intel-xe2", "base sub f16 dot8", 12, 456 },
        { "lunar-lake", "intel-xe2", "base sub f16 dot8", 16, 136.5 },
        { "gtx-970", "nvidia-maxwell", "base sub", 4, 224 },
        { "gtx-1080", "nvidia-pascal", "base sub dot8", 8, 320 },
        { "titan-v", "nvidia-volta", "base sub f16 dot8", 12, 652.8 },
        { "rtx-2080", "nvidia-turing", "base sub f16 dot8", 8, 448 },
        { "rtx-3090", "nvidia-ampere", "base sub f16 dot8", 24, 936 },
        { "rtx-4090", "nvidia-ada", "base sub f16 dot8", 23, 1008 },
        { "rtx-5090", "nvidia-blackwell", "base sub f16 dot8", 32, 1792 },
        { "h100", "nvidia-hopper", "base sub f16 dot8", 80, 3350 },
        { "apple-m2", "apple", "base sub f16", 11, 102.4 },
        { "adreno-730", "adreno", "base sub f16", 8, 51.2 },
        { "adreno-740", "adreno", "base sub f16 dot8", 10, 67.2 },
        { "mali-g715", "mali", "base sub f16 dot8", 10, 68.3 },
        { "raspberry-pi-5", "videocore", "base", 4, 17.1 },
        { "minimal", "unknown", "base", 1, 12.8 },
    };
    pum_caps c;
    char tiers[64];
    for (size_t i = 0; i < PUM_COUNT(expected); i++) {
        assert_string_equal(pum_caps_profile_name(i), expected[i].name);
        assert_true(pum_caps_profile(expected[i].name, &c));
        assert_string_equal(pum_family_name(c.family), expected[i].family);
        pum_caps_tiers_text(c.bits, tiers, sizeof tiers);
        assert_string_equal(tiers, expected[i].tiers);
        assert_int_equal(c.local_heap_bytes >> 30, expected[i].heap_gib);
        pum_tuning t;
        pum_tuning_for(&c, &t);
        assert_true(pum_tuning_bandwidth(&c, &t) == expected[i].gbs);
        c.peak_gbs = 0; /* as a driver's */
        assert_true(pum_tuning_bandwidth(&c, &t) == t.read_gbs);
        /* cooperative matrices, once their quirk is off */
        pum_caps_wishes w = { .quirks_off = quirk_bit("coop-unproven") };
        bool coop = strstr("navi31 rx-9070-xt intel-b580 lunar-lake rtx-2080 rtx-3090 rtx-4090 rtx-5090 h100",
                           expected[i].name) != NULL;
        assert_true(pum_caps_profile_wish(expected[i].name, &w, &c));
        assert_int_equal((c.bits & PUM_CAP_COOP) != 0, coop);
        if (coop) assert_true(c.coop_m && c.coop_n && c.coop_k);
    }
    assert_null(pum_caps_profile_name(PUM_COUNT(expected)));
    assert_string_equal(pum_caps_profile_find("RX 7900 XTX"), "navi31");
    assert_string_equal(pum_caps_profile_find("arc-a770"), "intel-a770");
    assert_string_equal(pum_caps_profile_find("RTX_4090"), "rtx-4090");
    assert_null(pum_caps_profile_find("rtx"));
    assert_null(pum_caps_profile_find(""));
    assert_false(pum_caps_profile("voodoo", &c));
    assert_int_equal(c.max_push_bytes, 0);
    const char *name;
    for (size_t i = 0; (name = pum_caps_profile_name(i)); i++) {
        assert_true(pum_caps_profile(name, &c));
        /* what vk/snapshot.c demands of a real device */
        assert_true(c.max_storage_buffers >= PUM_MAX_BINDINGS
                    && c.max_push_bytes >= PUM_MAX_ARGS_BYTES);
        assert_true(c.max_workgroup_invocations >= 128 && c.shared_memory_bytes >= 16384);
        assert_true(c.offset_align_bytes
                    && (c.offset_align_bytes & (c.offset_align_bytes - 1)) == 0);
        assert_true(c.max_buffer_range_bytes >= 1u << 27 && c.max_allocation_bytes >= 1u << 30);
        assert_true(c.subgroup_min <= c.subgroup_size && c.subgroup_size <= c.subgroup_max);
        assert_true(!(c.bits & PUM_CAP_TIMESTAMPS) == !(c.timestamp_period_ns > 0));
        assert_true(c.name[0] && c.driver_name[0]);
    }
    assert_true(pum_caps_profile("minimal", &c));
    assert_int_equal(c.bits, 0);
    assert_int_equal(c.max_storage_buffers, 8);
    assert_int_equal(c.offset_align_bytes, 256);
    assert_int_equal(c.max_buffer_range_bytes, 1 << 27);
}

static void check_tuning(const pum_caps *c)
{
    pum_tuning t;
    pum_tuning_for(c, &t);
    const uint32_t workgroups[] = { t.matvec_wg, t.matmul_wg, t.attn_wg, t.norm_wg,
                                      t.sample_wg, t.elementwise_wg };
    for (size_t i = 0; i < PUM_COUNT(workgroups); i++) {
        assert_in_range(workgroups[i], 1, c->max_workgroup_invocations);
        assert_in_range(workgroups[i], 1, c->max_workgroup_size[0]);
        assert_int_equal(workgroups[i] & (workgroups[i] - 1), 0); /* tree reductions halve */
    }
    if (c->bits & PUM_CAP_SUBGROUP) { /* full subgroups */
        assert_int_equal(t.matvec_wg % c->subgroup_size, 0);
        assert_int_equal(t.norm_wg % c->subgroup_size, 0);
    }
    assert_true(t.matvec_group >= 1 && t.matvec_wg % t.matvec_group == 0);
    if (t.matmul_reg) {
        assert_int_equal(t.matmul_bm, 8);
        assert_int_equal(t.matmul_bn, 8 * t.matmul_wg);
    } else {
        assert_int_equal(t.matmul_bm % t.matmul_tm, 0);
        assert_int_equal(t.matmul_bn % t.matmul_tn, 0);
        assert_int_equal(t.matmul_wg, t.matmul_bm / t.matmul_tm * (t.matmul_bn / t.matmul_tn));
        assert_int_equal(t.matmul_bk % 4, 0);
        assert_true(4 * t.matmul_bk * (t.matmul_bm + t.matmul_bn + 2) <= c->shared_memory_bytes);
    }
    assert_true(t.read_gbs && t.matmul_gflops && t.dispatch_ns && t.submit_us && t.matvec_rows
                && t.matvec_max_rows);
}

static void test_tuning(void **state)
{
    (void)state;
    const char *name;
    for (size_t i = 0; (name = pum_caps_profile_name(i)); i++) {
        pum_caps c;
        assert_true(pum_caps_profile(name, &c));
        check_tuning(&c);
        for (uint32_t family = 0; family < PUM_GPU_COUNT; family++) { /* any row on any limits */
            c.family = family;
            check_tuning(&c);
        }
    }
    pum_caps wide;
    assert_true(pum_caps_profile("lavapipe", &wide));
    wide.subgroup_size = wide.subgroup_max = 16; /* LP_NATIVE_VECTOR_WIDTH=512 */
    check_tuning(&wide);
}

static void test_kernel_find(void **state)
{
    (void)state;
    const pum_caps none = { 0 };
    pum_caps all = { .bits = UINT32_MAX };
    int base = pum_kernel_find(PUM_FAMILY_SOFTMAX, PUM_DTYPE_COUNT, &none, 0);
    int sub = pum_kernel_find(PUM_FAMILY_SOFTMAX, PUM_DTYPE_COUNT, &all, ~PUM_CAP_SUBGROUP);
    assert_int_equal(base, PUM_KERNEL_softmax_base);
    assert_int_equal(sub, PUM_KERNEL_softmax_sub);
    pum_caps_distrust(&all, PUM_KERNEL_softmax_sub);
    assert_int_equal(pum_kernel_find(PUM_FAMILY_SOFTMAX, PUM_DTYPE_COUNT, &all, 0), PUM_KERNEL_softmax_base);
    pum_caps_distrust(&all, PUM_KERNEL_softmax_base);
    assert_int_equal(pum_kernel_find(PUM_FAMILY_SOFTMAX, PUM_DTYPE_COUNT, &all, 0), -1);
    all = (pum_caps){ .bits = UINT32_MAX };
    assert_int_equal(pum_kernel_find(PUM_FAMILY_SOFTMAX, PUM_DTYPE_F16, &all, 0), -1);
    assert_int_equal(pum_kernel_find(PUM_FAMILY_COUNT, PUM_DTYPE_COUNT, &all, 0), -1);
    for (int i = 0; i < PUM_KERNEL_COUNT;
         i++) { /* the weakest device has a kernel for everything */
        uint32_t family = pum_kernels[i].family; /* matvec and matmul do the same as these */
        if (family != PUM_FAMILY_MATMUL_COOP && pum_kernels[i].tier != PUM_TIER_TEXEL
            && pum_kernels[i].tier != PUM_TIER_DOT8) {
            assert_true(pum_kernel_find(family, (pum_dtype)pum_kernels[i].weight, &none, 0) >= 0);
        }
        assert_true(pum_kernels[i].n_bindings <= PUM_MAX_BINDINGS
                    && pum_kernels[i].n_spec <= PUM_MAX_SPEC);
        assert_true(pum_kernels[i].args_bytes <= PUM_MAX_ARGS_BYTES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capability_names), cmocka_unit_test(test_tiers),
        cmocka_unit_test(test_families),         cmocka_unit_test(test_quirks),
        cmocka_unit_test(test_quirk_switches),   cmocka_unit_test(test_wishes),
        cmocka_unit_test(test_profiles),         cmocka_unit_test(test_tuning),
        cmocka_unit_test(test_kernel_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
