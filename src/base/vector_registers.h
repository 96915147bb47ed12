// What code with wider vector registers than ours (ISA-L: up to 512 bits) leaves behind.
#pragma once

namespace resilver {

// To be called after ISA-L, which does not do it: until the upper halves are clear, every SSE instruction waits for them and
// every context switch saves them. A checksum of 4 KiB on each hop cost a replicated 4 KiB write 5 us of 38 so.
inline void clear_vector_registers() noexcept {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx"))
    asm volatile("vzeroupper" ::
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                       "xmm12", "xmm13", "xmm14", "xmm15");
#endif
}

}  // namespace resilver
