void rest_init(void);

void start_kernel(void) {
  for (const char* text = "Linux version 6.1.0-least\r\n"; *text; text++) {
    __asm__ volatile("outb %0, %1" : : "a"(*text), "Nd"((unsigned short)0x3f8));
  }
  rest_init();
}
