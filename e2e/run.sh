#!/usr/bin/env bash
# The stories on a real cluster: all of them, or those named. Makes everything that is needed and takes it away again.
#
#   run.sh [STORY...]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/bed.sh"
bed_up
bed_run run "$@"
