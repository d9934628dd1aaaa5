/* Denormal numbers (below 1e-38 in float) cost CPUs up to 100 times as much as others. The threads of a region take
   them for zero, and make zero of them: bits FTZ and DAZ of x86-64's MXCSR, FZ of Arm64's FPCR. Each thread has its
   own; what it was, flags included, is restored at the end of the region, also in the caller's thread. */
#ifndef CYCONV_DENORMALS_H
#define CYCONV_DENORMALS_H
#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#define CYCONV_FLUSH 0x8040u
static inline uint64_t cyconv_float_control(void) { return _mm_getcsr(); }
static inline void cyconv_set_float_control(uint64_t control) { _mm_setcsr((unsigned)control); }
#elif defined(__aarch64__) && defined(__GNUC__)
#define CYCONV_FLUSH ((uint64_t)1 << 24)
static inline uint64_t cyconv_float_control(void)
{
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}
static inline void cyconv_set_float_control(uint64_t control) { __asm__ volatile("msr fpcr, %0" : : "r"(control)); }
#else
#define CYCONV_FLUSH 0
static inline uint64_t cyconv_float_control(void) { return 0; }
static inline void cyconv_set_float_control(uint64_t control) { (void)control; }
#endif

/* Compilers do not know that arithmetic depends on these registers, but move no load or store across a fence. */
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#define cyconv_fence() _ReadWriteBarrier()
#else
#define cyconv_fence() __asm__ volatile("" : : : "memory")
#endif

/* Flush denormals in this thread; returns what `cyconv_restore_denormals` needs. */
static inline uint64_t cyconv_flush_denormals(void)
{
    const uint64_t control = cyconv_float_control();
    cyconv_set_float_control(control | CYCONV_FLUSH);
    cyconv_fence();
    return control;
}

static inline void cyconv_restore_denormals(uint64_t control)
{
    cyconv_fence();
    cyconv_set_float_control(control);
}
#endif
