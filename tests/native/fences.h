/* fences.h: allocations between pages that nobody may touch, for real code without a sanitizer.
 *
 *   MN_OPEN      posix_memalign, which a sanitizer watches
 *   MN_BEHIND    the last byte is the last of a page, and the next page is closed
 *   MN_BEFORE    the first byte is the first of a page, and the page before is closed
 *
 * Behind and before alike, both pages next to the data are closed. In memory: a page that keeps the size, a closed page,
 * the data, a closed page.
 */
#ifndef MN_FENCES_H
#define MN_FENCES_H

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MN_OPEN, MN_BEHIND, MN_BEFORE };

static int fence_kind = MN_OPEN;

static size_t fence_page(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* Bytes of whole pages that hold the data. */
static size_t fence_inside(size_t bytes) { return (bytes + fence_page() - 1) / fence_page() * fence_page(); }

static void *fence_allocate(size_t bytes)
{
    const size_t page = fence_page(), inside = fence_inside(bytes);
    if (fence_kind == MN_OPEN) {
        void *memory = NULL;
        return posix_memalign(&memory, 64, bytes) == 0 ? memory : NULL;
    }
    char *all = mmap(NULL, inside + 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return NULL;
    *(size_t *)(void *)all = inside + 3 * page;
    char *data = all + 2 * page;
    if (mprotect(all + page, page, PROT_NONE) != 0 || mprotect(data + inside, page, PROT_NONE) != 0) return NULL;
    return fence_kind == MN_BEHIND ? data + inside - bytes : data;
}

/* The first of the whole pages that hold the data. */
static char *fence_data(const void *memory) { return (char *)((uintptr_t)memory / fence_page() * fence_page()); }

/* Nobody may write here from now on. */
static void *fence_seal(void *memory, size_t bytes)
{
    if (fence_kind != MN_OPEN && bytes > 0 && mprotect(fence_data(memory), fence_inside(bytes), PROT_READ) != 0) abort();
    return memory;
}

static void fence_free(const void *memory)
{
    if (fence_kind == MN_OPEN) {
        free((void *)(uintptr_t)memory);
    } else if (memory != NULL) {
        char *all = fence_data(memory) - 2 * fence_page();
        munmap(all, *(size_t *)(void *)all);
    }
}

#endif
