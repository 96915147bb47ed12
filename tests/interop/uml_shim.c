// Loaded into linux.uml with LD_PRELOAD: lets user-mode-linux run on CPUs whose register state is larger than it knows.
//
// linux.uml keeps 2696 bytes of its processes' extended register state. PTRACE_GETREGSET fills a shorter buffer, but
// PTRACE_SETREGSET wants the whole state (11008 bytes with AMX) and fails with EFAULT, upon which UML panics ("ptrace set fp
// regs failed, errno 14"). Here such a call is completed: the whole state is read, the part that UML gave is laid over it,
// and the whole is set. Where the plain call works, nothing changes.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef long ptrace_function(int, pid_t, void *, void *);

static long set_whole_state(ptrace_function *real, pid_t pid, void *set, const struct iovec *given) {
  static __thread unsigned char whole[64 * 1024] __attribute__((aligned(64)));
  struct iovec all = {whole, sizeof whole};
  if (real(PTRACE_GETREGSET, pid, set, &all) != 0) return -1;
  if (all.iov_len <= given->iov_len) {
    errno = EFAULT;
    return -1;
  }
  memcpy(whole, given->iov_base, given->iov_len);
  return real(PTRACE_SETREGSET, pid, set, &all);
}

long ptrace(enum __ptrace_request request, ...) {
  va_list arguments;
  va_start(arguments, request);
  pid_t pid = va_arg(arguments, pid_t);
  void *address = va_arg(arguments, void *);
  void *data = va_arg(arguments, void *);
  va_end(arguments);

  static ptrace_function *real;
  if (!real) real = (ptrace_function *)dlsym(RTLD_NEXT, "ptrace");
  long result = real(request, pid, address, data);
  if (result != -1 || request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE) return result;
  if (errno != EFAULT && errno != EINVAL) return result;
  return set_whole_state(real, pid, address, data);
}
