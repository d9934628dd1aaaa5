/* The x86-64 level of this CPU and operating system, 1 (base), 3 (AVX2, FMA, BMI2) or 4 (AVX-512), and its vendor.
   Levels: "x86-64 psABI", micro-architecture levels. Bits: Intel SDM and AMD APM, CPUID. */
#ifndef CYCONV_CPU_H
#define CYCONV_CPU_H
#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#if defined(_MSC_VER)
#include <intrin.h>
#include <immintrin.h>
static void cyconv_cpuid(int leaf, unsigned r[4]) { __cpuidex((int *)r, leaf, 0); }
static unsigned cyconv_xcr0(void) { return (unsigned)_xgetbv(0); }
#else
#include <cpuid.h>
static void cyconv_cpuid(int leaf, unsigned r[4]) { __cpuid_count(leaf, 0, r[0], r[1], r[2], r[3]); }
static unsigned cyconv_xcr0(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}
#endif

static int cyconv_cpu_level(void) {
    unsigned one[4], seven[4], extended[4], zero[4];
    cyconv_cpuid(0, zero);
    if (zero[0] < 7) return 1;
    cyconv_cpuid(1, one);
    cyconv_cpuid(7, seven);
    cyconv_cpuid((int)0x80000001u, extended);
    /* OSXSAVE, AVX, FMA, F16C, MOVBE; AVX2, BMI1, BMI2; LZCNT; XMM and YMM state kept by the system */
    const unsigned need = (1u << 27) | (1u << 28) | (1u << 12) | (1u << 29) | (1u << 22);
    const unsigned avx2 = (1u << 5) | (1u << 3) | (1u << 8);
    if ((one[2] & need) != need || (seven[1] & avx2) != avx2 || !(extended[2] & (1u << 5))) return 1;
    const unsigned state = cyconv_xcr0();
    if ((state & 0x6u) != 0x6u) return 1;
    /* AVX-512 F, DQ, CD, BW, VL; opmask and ZMM state kept by the system */
    const unsigned avx512 = (1u << 16) | (1u << 17) | (1u << 28) | (1u << 30) | (1u << 31);
    if ((seven[1] & avx512) == avx512 && (state & 0xe6u) == 0xe6u) return 4;
    return 3;
}

/* The 12 letters of the vendor, which CPUID gives in the order EBX, EDX, ECX. */
static void cyconv_cpu_vendor(char name[13]) {
    unsigned zero[4];
    cyconv_cpuid(0, zero);
    memcpy(name, &zero[1], 4);
    memcpy(name + 4, &zero[3], 4);
    memcpy(name + 8, &zero[2], 4);
    name[12] = 0;
}
#else
static int cyconv_cpu_level(void) { return 1; }
static void cyconv_cpu_vendor(char name[13]) { name[0] = 0; }
#endif
#endif
