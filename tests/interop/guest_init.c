// The first process of the user-mode-linux guest: mounts what md and mdadm need, loads md's modules, runs the agent
// (guest_agent.sh) with the console as its standard streams, and powers off when it ends. A program of its own, so that no
// package for insmod and halt is needed. The root is the host's file system: nothing here or in the agent writes outside
// tmpfs but to the test's own folder.
//
// Environment (from the kernel's command line): INTEROP_AGENT, the script; INTEROP_MODULES, the folder of modules.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const kModules[] = {
    "crypto/xor.ko",
    "lib/libcrc32c.ko",
    "lib/raid6/raid6_pq.ko",
    "crypto/async_tx/async_tx.ko",
    "crypto/async_tx/async_memcpy.ko",
    "crypto/async_tx/async_xor.ko",
    "crypto/async_tx/async_pq.ko",
    "crypto/async_tx/async_raid6_recov.ko",
    "drivers/md/md-mod.ko",
    "drivers/md/linear.ko",
    "drivers/md/raid0.ko",
    "drivers/md/raid1.ko",
    "drivers/md/raid10.ko",
    "drivers/md/raid456.ko",
};

static void load(const char *folder, const char *module) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, module);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;  // built in; if it is missing, the modules that need it say so
  if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST) printf("guest: %s: %s\n", path, strerror(errno));
  close(fd);
}

static void mount_or_say(const char *type, const char *where) {
  // EBUSY: the kernel has mounted it already.
  if (mount(type, where, type, 0, "") != 0 && errno != EBUSY) printf("guest: cannot mount %s: %s\n", where, strerror(errno));
}

int main(void) {
  setvbuf(stdout, NULL, _IONBF, 0);
  mount_or_say("proc", "/proc");
  mount_or_say("sysfs", "/sys");
  mount_or_say("devtmpfs", "/dev");
  mount_or_say("tmpfs", "/run");
  // The host's, which the guest's own /dev hides: tests keep their files there.
  mkdir("/dev/shm", 0755);
  if (mount("none", "/dev/shm", "hostfs", 0, "/dev/shm") != 0) printf("guest: /dev/shm: %s\n", strerror(errno));
  const char *modules = getenv("INTEROP_MODULES");
  for (unsigned i = 0; modules && i < sizeof kModules / sizeof *kModules; ++i) load(modules, kModules[i]);
  const char *agent = getenv("INTEROP_AGENT");
  pid_t child = fork();
  if (child == 0 && agent) {
    setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    execl("/bin/bash", "bash", agent, (char *)NULL);
    printf("guest: /bin/bash: %s\n", strerror(errno));
    _exit(1);
  }
  while (wait(NULL) != child && errno != ECHILD) {
  }
  reboot(RB_POWER_OFF);
  return 1;
}
