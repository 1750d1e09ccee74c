"""What predictions cost: prices, where they come from, and how Replicate bills by them. No I/O.

PriceBook.find_price(model) ─▶ Price ─▶ calculate_cost(job, price) ─▶ Cost, stored with the ended job
"""
