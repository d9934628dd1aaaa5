/* Scratch memory of the kernels, kept from call to call: fresh pages cost more than the work in them.
   One idle block is remembered; a call takes it (or allocates its own) and gives it back. */
#ifndef CYCONV_WORKSPACE_H
#define CYCONV_WORKSPACE_H
#include <stddef.h>
#include <stdlib.h>

#define CYCONV_ALIGNMENT 64 /* one cache line, one AVX-512 register */

typedef struct {
    size_t bytes;
    void *allocation; /* what malloc returned; this header and the aligned memory lie inside */
} cyconv_workspace;

static void *volatile cyconv_idle = NULL;

#if defined(_MSC_VER)
#include <intrin.h>
#define cyconv_exchange(slot, value) _InterlockedExchangePointer((void *volatile *)(slot), (value))
#else
#define cyconv_exchange(slot, value) __atomic_exchange_n((slot), (value), __ATOMIC_ACQ_REL)
#endif

static void cyconv_release(void *memory) {
    if (memory == NULL) return;
    memory = cyconv_exchange(&cyconv_idle, memory);
    if (memory != NULL) free(((cyconv_workspace *)((char *)memory - CYCONV_ALIGNMENT))->allocation);
}

/* At least `bytes` of memory aligned to a cache line, or NULL. */
static void *cyconv_acquire(size_t bytes) {
    void *memory = cyconv_exchange(&cyconv_idle, NULL);
    if (memory != NULL) {
        cyconv_workspace *old = (cyconv_workspace *)((char *)memory - CYCONV_ALIGNMENT);
        if (old->bytes >= bytes) return memory;
        free(old->allocation);
    }
    if (bytes > (size_t)-1 - 2 * CYCONV_ALIGNMENT) return NULL;
    char *allocation = (char *)malloc(bytes + 2 * CYCONV_ALIGNMENT);
    if (allocation == NULL) return NULL;
    char *aligned = allocation + CYCONV_ALIGNMENT;
    aligned += (CYCONV_ALIGNMENT - (size_t)aligned % CYCONV_ALIGNMENT) % CYCONV_ALIGNMENT;
    cyconv_workspace *header = (cyconv_workspace *)(aligned - CYCONV_ALIGNMENT);
    header->bytes = bytes;
    header->allocation = allocation;
    return aligned;
}
#endif
