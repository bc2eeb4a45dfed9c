/* SPDX-License-Identifier: Apache-2.0
 * A Vulkan loader on top of fault_vk.h's whose devices have one more queue family, which can do nothing but copy. What
 * is submitted to it goes to the driver's own queue; the rules that a driver with one family cannot check are checked
 * here: which commands may go where, which stages and accesses a copying queue knows, what buffers both may use, and
 * that a change of queue waits for what the other was given last. State is global: one device at a time. */
#ifndef TWO_FAMILIES_VK_H
#define TWO_FAMILIES_VK_H

void *two_families_vk_loader(void);

/* Forgets what was counted. */
void two_families_vk_begin(void);
/* Submits to the copying queue, those that waited for another queue, and broken rules (each printed), since begin. */
unsigned two_families_vk_uploads(void);
unsigned two_families_vk_waits(void);
unsigned two_families_vk_faults(void);

#endif
