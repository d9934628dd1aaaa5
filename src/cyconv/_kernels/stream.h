/* Memory ahead of the kernels, and past the caches. */
#ifndef CYCONV_STREAM_H
#define CYCONV_STREAM_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define CYCONV_INLINE static inline __attribute__((always_inline))
#else
#define CYCONV_INLINE static inline
#endif

/* Fetch what will soon be read: a window's rows are several streams of short runs, which processors do not foresee. */
static void cyconv_prefetch(const void *memory, ptrdiff_t bytes)
{
#if defined(__GNUC__)
    for (ptrdiff_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)memory + i);
#endif
}

/* The same of what will soon be written. */
static void cyconv_prefetch_write(const void *memory, ptrdiff_t bytes)
{
#if defined(__GNUC__)
    for (ptrdiff_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)memory + i, 1);
#endif
}

/* Memory that is needed soon: `runs` runs of `bytes` bytes, `step` bytes apart; then what comes `after`. A few of its lines
   at a time are fetched while products are made, and cost nothing then; many would wait for each other, and all for them. */
typedef struct cyconv_ahead {
    const char *at;
    ptrdiff_t bytes, step, runs;
    int write; /* whether it will be written */
    struct cyconv_ahead *after;
    ptrdiff_t done; /* bytes of the first run that are fetched */
} cyconv_ahead;

CYCONV_INLINE void cyconv_fetch(cyconv_ahead *ahead, int lines)
{
#if defined(__GNUC__)
    for (; ahead && lines > 0; ahead = ahead->after)
        for (; ahead->runs > 0 && lines > 0; lines--) {
            const char *line = ahead->at + ahead->done;
            if (ahead->write) __builtin_prefetch(line, 1);
            else __builtin_prefetch(line);
            ahead->done += 64;
            if (ahead->done >= ahead->bytes) ahead->at += ahead->step, ahead->runs--, ahead->done = 0;
        }
#endif
}

/* Copies that go past the caches: a line that is written whole need not be read first, which is a third of the traffic
   of a copy, and half of that of a plain write. Only for arrays that no cache holds until they are read. */
#define CYCONV_STREAM_BYTES ((size_t)32 << 20) /* arrays from here on are streamed: about a last-level cache */

#if defined(__AVX__)
#include <immintrin.h>
typedef __m256i cyconv_word;
#define cyconv_load(p) _mm256_loadu_si256((const __m256i *)(p))
#define cyconv_stream_word(p, word) _mm256_stream_si256((__m256i *)(p), word)
#elif defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
typedef __m128i cyconv_word;
#define cyconv_load(p) _mm_loadu_si128((const __m128i *)(p))
#define cyconv_stream_word(p, word) _mm_stream_si128((__m128i *)(p), word)
#endif

/* out = in, and in = 0. */
static void cyconv_stream_out(void *restrict out, void *restrict in, size_t bytes)
{
    char *to = (char *)out, *from = (char *)in;
#if defined(cyconv_stream_word)
    size_t head = -(uintptr_t)to & 63; /* until a line begins */
    if (head > bytes) head = bytes;
    memcpy(to, from, head);
    memset(from, 0, head);
    for (to += head, from += head, bytes -= head; bytes >= 64; to += 64, from += 64, bytes -= 64) {
        for (size_t i = 0; i < 64; i += sizeof(cyconv_word)) cyconv_stream_word(to + i, cyconv_load(from + i));
        memset(from, 0, 64);
    }
    _mm_sfence(); /* before another thread is told of it */
#endif
    memcpy(to, from, bytes);
    memset(from, 0, bytes);
}
#endif
