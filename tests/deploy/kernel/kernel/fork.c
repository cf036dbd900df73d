void rest_init(void) {
  for (;;) __asm__ volatile("hlt");
}
