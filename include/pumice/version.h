/* SPDX-License-Identifier: Apache-2.0
 * The version of the library. meson.build reads the numbers from here, so this is their only place.
 */
#ifndef PUMICE_VERSION_H
#define PUMICE_VERSION_H

#define PUMICE_VERSION_MAJOR 0
#define PUMICE_VERSION_MINOR 1
#define PUMICE_VERSION_PATCH 0

#endif
