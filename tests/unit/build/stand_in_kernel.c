void start_kernel(void);

void start_kernel(void) {
  for (;;) {
  }
}
