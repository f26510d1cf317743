"""What is left of K3s on a machine that has left its cluster, and how it goes."""

from __future__ import annotations

from facts.k3s_departed import FOLDERS, LINKS, MOUNTS, UNIT_FILES, UNITS

# Containers outlive K3s: their processes are in its unit's cgroup and in those of the pods. Files go only from the
# file system that the folder is on: what somebody mounted there is his. Nothing is deleted while a pod's volume is
# mounted. Rules of other programs stay: K3s, kube-proxy, CNI and flannel have their names in theirs.
SCRIPT = f"""\
set -eu
for u in {" ".join(UNITS)}; do
  systemctl disable --quiet $u 2>/dev/null || true
  systemctl stop $u 2>/dev/null || ! systemctl is-active --quiet $u
  systemctl kill --signal=KILL $u 2>/dev/null || true
  rm -rf /run/systemd/system/$u.d
done
groups="-name kubepods* -o -name k3s.service -o -name k3s-agent.service"
set -f
for g in $(find /sys/fs/cgroup -type d '(' $groups ')' -prune); do
  if test -w $g/cgroup.kill; then echo 1 > $g/cgroup.kill
  else find $g -name cgroup.procs -exec cat {{}} + | xargs -r kill -9 2>/dev/null || true; fi
done
set +f
pods() {{
  sort -rk2 /proc/self/mounts | while read -r _ at _; do case $at in {"|".join(MOUNTS)}) echo "$at";; esac; done
}}
for try in $(seq 50); do
  pods | while read -r at; do umount "$at" 2>/dev/null || umount --lazy "$at" || true; done
  [ -n "$(pods)" ] || break
  sleep 0.2
done
[ -z "$(pods)" ] || {{ echo "cannot wipe K3s: still mounted: $(pods | head -n 1)" >&2; exit 1; }}
for l in cni0 flannel.1 flannel-wg; do ! test -e /sys/class/net/$l || ip link delete $l; done
for t in iptables ip6tables; do
  ! command -v $t-save >/dev/null || $t-save | grep -v -e KUBE- -e CNI- -e FLANNEL -e flannel | $t-restore
done
for f in {" ".join(FOLDERS)}; do
  test -d $f || continue
  find $f -xdev ! -type d -delete
  find $f -xdev -depth -type d -exec rmdir --ignore-fail-on-non-empty {{}} + 2>/dev/null || true
done
rm -f {" ".join(UNIT_FILES)}
for p in {" ".join(LINKS)}; do case $(readlink $p) in */k3s) rm -f $p;; esac; done
systemctl daemon-reload
systemctl reset-failed {" ".join(UNITS)} 2>/dev/null || true"""
